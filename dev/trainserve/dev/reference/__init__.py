"""docs/reference.md and the tables of docs/contracts.md, made of the types that operator and pods share."""
