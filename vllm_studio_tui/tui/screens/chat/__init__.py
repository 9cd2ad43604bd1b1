"""The chat: sessions, the transcript, the prompt, and answers as they come."""
