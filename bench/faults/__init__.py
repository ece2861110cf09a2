"""How often does `verify` find a fault, and name its cause?"""
