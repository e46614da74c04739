"""The Lambda function behind `PipelineReprocessing`: CloudFormation's requests in, reprocessing runs out.

Follow one deploy: `index` -> `lifecycle` -> `lifecycle` -> `pipelines`. Only `aws` talks to the network.
"""
