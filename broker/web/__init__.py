"""What people and programs talk to: pages, the API, sign-in. Handlers call flows and hold no rule of their own."""
