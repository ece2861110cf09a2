"""How far are results from the exact ones, and from those of other engines?"""
