"""The HTTP face: one address for every model, and the studio's own API. The only room that imports aiohttp."""
