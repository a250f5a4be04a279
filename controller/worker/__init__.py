"""The worker: claim a job, take the load balancer's lease, run its flow, settle."""
