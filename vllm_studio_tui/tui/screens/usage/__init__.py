"""The usage: tokens, requests and energy by model, recipe and day."""
