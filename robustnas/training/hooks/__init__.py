"""What acts beside the alternating step: early stopping, rollback, selection and frozen operations."""
