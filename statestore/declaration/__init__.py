"""What a class says: from its annotations to the model that everything else goes by."""
