"""Recipes: how each published network was trained."""
