"""What is done with questions on the way, from more than one screen."""
