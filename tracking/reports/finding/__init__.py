"""Finding orders by what somebody remembers of them: a part of an id, a reference, a product, a person or a note."""
