"""Predicates: each watches one signal of a route and says whether it breaches and when that ends. Pure."""
