"""The gRPC API: servers, watch queues, and the way from views to proto messages."""
