"""How traffic is shared between champion and challenger: by the numbers of their pods."""
