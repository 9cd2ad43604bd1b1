"""The context of a chat: how many tokens it takes, and how it is made shorter."""
