// Package openapi compares the OpenAPI document of the API with live answers, with
// libopenapi-validator. It is a module of its own, so that the program does not depend on the
// libraries of the validator.
package openapi
