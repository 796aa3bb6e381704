"""Imports: the orders of an uploaded file, from rows that wait until each is placed, rejected or discarded."""
