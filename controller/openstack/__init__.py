"""The services of an OpenStack, as its drivers see them: who calls, how long, how often again, and what a refusal is in our words."""
