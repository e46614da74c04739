"""A local AWS IoT Analytics: the service that AWS switched off, over HTTP, for deploys and tests on one machine.

Usage:
    $ python -m local_aws.iot_analytics --host 127.0.0.1 --port 0
    READY http://127.0.0.1:43219

    >>> from local_aws.iot_analytics.client import LocalControl, iot_analytics_client, put_messages
    >>> client = iot_analytics_client("http://127.0.0.1:43219")
    >>> put_messages(client, "temperatures", messages, at=datetime(2010, 1, 1, tzinfo=UTC))
    >>> LocalControl("http://127.0.0.1:43219").runs()

Requests and answers are checked against the official service model (`model`). Served are channels, data stores, pipelines
and their tags (create, describe, update, delete, list), BatchPutMessage, and reprocessing: start, cancel, describe.

What the service did is told where it is done; what it left open is decided there too:

- `archive`: how raw messages are kept, and which objects a time range takes.
- `data_store`: how rows are kept, and how one tells the runs apart that wrote them.
- `messages`, `ingestion`: what a payload may be, and that messages pass the pipelines before BatchPutMessage answers.
- `activities`, `expressions`, `attributes`: what a pipeline does to a message, and what becomes of one that it cannot do.
- `runs`: how reprocessing goes on and ends.
- `control`: what only this server has: holding and failing runs, faults on order, the calls so far, the rows of a data store.
- `server`: the header that lets messages arrive at another time than now.

Decided where the service's documentation is silent: nothing ever answers ResourceAlreadyExists to a start unless ordered;
cancelling a run that has ended is no error; deleting a channel or data store that a pipeline uses is allowed, and starting
that pipeline's reprocessing is then ResourceNotFound; roles (`roleArn`) are checked for their form and never assumed;
signatures are not looked at, so whoever reaches the port may do everything: it is bound to loopback addresses only.
"""
