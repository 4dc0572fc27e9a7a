"""docs/reference.md and the tables of docs/contracts.md, generated from the types that operator and pods share."""
