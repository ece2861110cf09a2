"""How often does `verify` accuse a right implementation?"""
