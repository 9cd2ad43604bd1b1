"""A studio on another host, behind the protocols that faces are typed against: over ssh, or HTTP."""
