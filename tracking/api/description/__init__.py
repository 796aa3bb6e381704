"""The API's description: its OpenAPI document, and a page for people made from it."""
