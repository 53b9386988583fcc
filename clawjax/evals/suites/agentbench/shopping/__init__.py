"""Buying what is asked for in a web shop, with WebShop's reward."""
