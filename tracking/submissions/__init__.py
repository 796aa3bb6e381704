"""What people hand in and do: requests and files, actions on orders, and the sender."""
