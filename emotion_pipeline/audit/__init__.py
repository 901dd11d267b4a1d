"""What is here, whether it is whole, and where it comes from: the commands status, verify, failures, explain."""
