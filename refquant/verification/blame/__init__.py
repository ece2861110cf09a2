"""Blame: which usual mistake explains a wrong node? (catalogue.py)"""
