"""What can be done with a network: a file a task, beside what they share."""
