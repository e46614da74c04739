"""A local AWS IoT Analytics: the service that AWS switched off, over HTTP, for deploys and tests on one machine."""
