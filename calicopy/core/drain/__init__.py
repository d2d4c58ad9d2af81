"""Taking this node out of service without losing what others reach over it, and bringing it back."""
