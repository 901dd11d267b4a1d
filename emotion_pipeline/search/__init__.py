"""Random grid search and what is chosen from it (section 3.4): `run_search`, `write_search`, `choose_complementary`."""
