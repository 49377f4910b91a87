# The ledger: auditors read it, and each reading is itself recorded; roles alone decide.
package sulku.ledger

cleared := set()
