"""What the API says of itself: its documents for OpenAPI, and the page that people read it on."""
