"""What `./run` needs on one machine: PostgreSQL, RabbitMQ, a mailbox, and the services in the background."""
