# The catalogue: stewards keep it, everybody reads it; roles alone decide.
package sulku.dataset

cleared := set()
