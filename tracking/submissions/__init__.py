"""What people submit and do: order requests and files, acts on one order, erasure; and the sender."""
