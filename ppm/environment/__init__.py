"""What is deployed for one base model: the store, the deployments, and the transaction that makes one."""
