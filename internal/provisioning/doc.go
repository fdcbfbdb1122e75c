// SPDX-License-Identifier: Apache-2.0

// Package provisioning finds or creates the academy's account of a person who
// launched, and puts it into the group of an activity. It is a client of SCIM
// 2.0 (RFC 7643, RFC 7644).
//
// # Whose account it is
//
// The academy's directory decides, and the package keeps nothing but the ids of
// groups for some minutes:
//
//  1. the account that the caller has remembered for the person. When it does
//     not exist any more the answer is [ErrGone] and nothing is looked up: an
//     account that an administrator deleted does not come back by itself under
//     another id. The caller shows that, forgets the id when somebody decides
//     so, and calls again without.
//  2. the account with the external id that only this package writes, see
//     [Person.ExternalID]. The bare user id of the other system is never looked
//     up: the directory may have external ids of other origin.
//  3. the account with the person's email address, if the system that launches
//     may speak for the address: exactly one active account that the link
//     filter lets through.
//  4. a new account, if nobody has the address.
//
// A remembered or linked account is used as it is: a launch changes neither its
// email address nor its name, and not its external id either, even if it has
// none. A linked account is therefore found again by the remembered id, or by
// the address.
//
// # Trust in answers
//
// Servers differ in what they can filter by, and some ignore filters, which
// makes a list of everybody look like a match. Every account and group in a list
// is compared here with what was asked for, and a list that is longer than could
// be a match is an error, never "not found". What the link filter says cannot be
// compared here, because it is the administrator's own; a linked account must
// therefore be absent from the answer to the opposite question.
//
// # Once only
//
// The server's uniqueness of userName, which is the email address of accounts
// created here, decides between replicas that create the same person at the same
// time; the others find the account of the one that was first. Nothing is sent
// twice by itself: when an answer is lost, the next call finds what the lost one
// did.
package provisioning
