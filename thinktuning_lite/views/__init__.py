"""What one looks at: figures, the inspector, the live view. Computes nothing that training needs; imports evaluation and below."""
