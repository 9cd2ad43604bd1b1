"""The simulated home: recipes with their history, weeks of runs, usage and chats, and the runs that are there now.

All of it is written as the program itself would have written it, by the same traffic that the simulated engines serve.
"""
