//! Transport of the API: HTTPS REST, gRPC, authentication and authorization.
