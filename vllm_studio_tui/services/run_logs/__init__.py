"""The log of a run, as a file of this machine or of a studio elsewhere, behind one interface."""
