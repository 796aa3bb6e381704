"""How one call is made over HTTP, on httpx's own seams: an Auth for the token, transports for the rest."""
