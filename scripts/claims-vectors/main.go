// Makes the tokens that the tests of the room `claims` read, with the official libraries:
//
//	go run . > ../../shards/claims/tests/vectors.json
//
// Keys and tokens are new in every run; the file in the tree is one run's. None of them guards anything.
package main

import (
	"encoding/json"
	"os"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

type key struct {
	Public string `json:"public"`
	Seed   string `json:"seed"`
	pair   nkeys.KeyPair
}

var keys = map[string]key{}
var tokens = map[string]string{}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func makeKey(name string, create func() (nkeys.KeyPair, error)) key {
	pair := must(create())
	made := key{must(pair.PublicKey()), string(must(pair.Seed())), pair}
	keys[name] = made
	return made
}

func sign(name string, claims jwt.Claims, by key) {
	tokens[name] = must(claims.Encode(by.pair))
}

func main() {
	operator := makeKey("operator", nkeys.CreateOperator)
	operatorSigning := makeKey("operator_signing", nkeys.CreateOperator)
	stranger := makeKey("stranger", nkeys.CreateOperator)
	account := makeKey("account", nkeys.CreateAccount)
	signing := makeKey("signing", nkeys.CreateAccount)
	scoped := makeKey("scoped", nkeys.CreateAccount)
	other := makeKey("other", nkeys.CreateAccount)
	system := makeKey("system", nkeys.CreateAccount)
	user := makeKey("user", nkeys.CreateUser)
	revoked := makeKey("revoked", nkeys.CreateUser)
	server := makeKey("server", nkeys.CreateServer)

	oc := jwt.NewOperatorClaims(operator.Public)
	oc.Name = "O"
	oc.SigningKeys.Add(operatorSigning.Public)
	oc.SystemAccount = system.Public
	sign("operator", oc, operator)
	oc.StrictSigningKeyUsage = true
	oc.AssertServerVersion = "2.99.0"
	sign("operator_strict", oc, operator)

	activation := jwt.NewActivationClaims(account.Public)
	activation.ImportSubject = "private.>"
	activation.ImportType = jwt.Stream
	sign("activation", activation, other)

	ac := jwt.NewAccountClaims(account.Public)
	ac.Name = "APP"
	ac.Tags.Add("region:eu")
	ac.SigningKeys.Add(signing.Public)
	scope := jwt.NewUserScope()
	scope.Key = scoped.Public
	scope.Role = "device"
	scope.Template.Pub.Allow.Add("{{account-name()}}.{{name()}}.>", "{{tag(team)}}.x", "none.{{tag(no)}}")
	scope.Template.Sub.Allow.Add("to.{{subject()}}", "{{account-tag(region)}}.{{account-subject()}}")
	scope.Template.Sub.Deny.Add("secret.>")
	scope.Template.Subs = 7
	scope.Template.Resp = &jwt.ResponsePermission{MaxMsgs: 2, Expires: time.Minute}
	ac.SigningKeys.AddScopedSigner(scope)
	ac.Limits.Conn = 10
	ac.Limits.Subs = 100
	ac.Limits.Payload = 1000
	ac.DefaultPermissions.Pub.Allow.Add("default.>")
	ac.Exports.Add(
		&jwt.Export{Subject: "open.>", Type: jwt.Stream},
		&jwt.Export{Subject: "svc.*", Type: jwt.Service, ResponseType: jwt.ResponseTypeChunked, ResponseThreshold: time.Second,
			TokenReq: true, AccountTokenPosition: 2, Latency: &jwt.ServiceLatency{Sampling: 50, Results: "lat.svc"}})
	ac.Exports[1].Revoke(other.Public)
	ac.Imports.Add(
		&jwt.Import{Account: other.Public, Subject: "private.a", LocalSubject: "from.other", Type: jwt.Stream, Token: tokens["activation"]},
		&jwt.Import{Account: other.Public, Subject: "ask.*.me", LocalSubject: "here.$1", Type: jwt.Service, Share: true})
	ac.Mappings = jwt.Mapping{"foo": {{Subject: "bar", Weight: 40}, {Subject: "baz", Weight: 60}}}
	ac.Authorization = jwt.ExternalAuthorization{AuthUsers: jwt.StringList{user.Public}, AllowedAccounts: jwt.StringList{"*"}}
	ac.Revocations = jwt.RevocationList{}
	ac.Revocations.Revoke(revoked.Public, time.Now().Add(time.Hour))
	sign("account", ac, operator)
	sign("account_by_signing_key", ac, operatorSigning)
	sign("account_by_stranger", ac, stranger)
	sign("account_by_itself", ac, account)

	plain := jwt.NewAccountClaims(account.Public)
	plain.Name = "PLAIN"
	plain.Limits.DisallowBearer = true
	sign("account_no_bearer", plain, operator)
	plain.Expires = time.Now().Add(-time.Hour).Unix()
	sign("account_expired", plain, operator)
	all := jwt.NewAccountClaims(account.Public)
	all.Revocations = jwt.RevocationList{"*": time.Now().Add(time.Hour).Unix()}
	sign("account_all_revoked", all, operator)
	bad := jwt.NewAccountClaims(account.Public)
	bad.Exports.Add(&jwt.Export{Subject: "a.>", Type: jwt.Stream}, &jwt.Export{Subject: "a.b", Type: jwt.Stream})
	sign("account_bad_exports", bad, operator)

	users(user, revoked, account, signing, scoped, other)

	response := jwt.NewAuthorizationResponseClaims(user.Public)
	response.Audience = server.Public
	response.Jwt = tokens["user"]
	sign("response", response, account)
	response.Jwt = ""
	response.Error = "not today"
	sign("response_no", response, account)

	out := map[string]any{"keys": keys, "tokens": tokens}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(out); err != nil {
		panic(err)
	}
}

func users(user, revoked, account, signing, scoped, other key) {
	uc := jwt.NewUserClaims(user.Public)
	uc.Name = "bob"
	uc.Pub.Allow.Add("foo.>")
	uc.Pub.Deny.Add("foo.no")
	uc.Sub.Allow.Add("bar", "work q")
	uc.Limits.Subs = 5
	sign("user", uc, account)
	uc.IssuerAccount = account.Public
	sign("user_by_signing_key", uc, signing)
	sign("user_by_stranger", uc, other)
	sign("user_scoped_with_permissions", uc, scoped)

	role := jwt.NewUserClaims(user.Public)
	role.Name = "dev7"
	role.IssuerAccount = account.Public
	role.Tags.Add("team:red", "team:blue")
	role.SetScoped(true)
	sign("user_scoped", role, scoped)

	bearer := jwt.NewUserClaims(user.Public)
	bearer.BearerToken = true
	sign("user_bearer", bearer, account)

	ended := jwt.NewUserClaims(user.Public)
	ended.Expires = time.Now().Add(-time.Hour).Unix()
	sign("user_expired", ended, account)
	later := jwt.NewUserClaims(user.Public)
	later.NotBefore = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	sign("user_not_yet", later, account)

	far := jwt.NewUserClaims(user.Public)
	far.Expires = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	far.Src.Add("192.0.2.0/24")
	far.Times = []jwt.TimeRange{{Start: "08:00:00", End: "16:00:00"}}
	far.Locale = "Europe/Berlin"
	far.AllowedConnectionTypes.Add("STANDARD", "MQTT")
	sign("user_from_there_by_day", far, account)

	bad := jwt.NewUserClaims(user.Public)
	bad.Pub.Allow.Add("foo..bar")
	sign("user_bad_subject", bad, account)

	gone := jwt.NewUserClaims(revoked.Public)
	sign("user_revoked", gone, account)
}
