"""What the logs page reports beside its lists: volumes over time, and one API call in full. Bounded reads."""
