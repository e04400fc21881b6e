"""Views: a Storage shown as another Storage."""
