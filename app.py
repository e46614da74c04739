"""The example app. `cdk deploy IotAnalytics -c stage=celsius` changes the pipeline, and its data with it."""

from aws_cdk import App
from examples.iot_analytics import IotAnalyticsStack

app = App()
stage = app.node.try_get_context("stage") or "fahrenheit"
IotAnalyticsStack(app, "IotAnalytics", stage=stage)
app.synth()
