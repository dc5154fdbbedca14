"""How do the gateway nodes look to clients of the xDS protocols?"""
