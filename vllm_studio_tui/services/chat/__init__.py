"""Chatting: sessions, questions, answers while they come, and what is kept of them."""
