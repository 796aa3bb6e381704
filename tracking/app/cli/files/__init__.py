"""Commands about files of many orders: submit one, what came of it, and export to one."""
