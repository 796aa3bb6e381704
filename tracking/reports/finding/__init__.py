"""Full-text search: which orders hold a part of an id, a reference, a product, a person or a note."""
