// Drives a KBS: whole handshakes with the sample TEE, each with a fresh key, each secret opened and compared;
// or the same resource again and again with one attestation token. Prints one line of JSON.
//
// usage: kbs_load URL handshake|bearer CLIENTS SECONDS SECRET
package main

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

const resource = "/kbs/v0/resource/default/test/dummy"

var b64u = base64.RawURLEncoding

// client holds one connection: what net/http does for a request costs as much as the server's part of some.
type client struct {
	address string
	conn    net.Conn
	reader  *bufio.Reader
	secret  []byte
}

// session is what a handshake leaves: key, cookie, token.
type session struct {
	key    *ecdh.PrivateKey
	cookie string
	token  string
}

type jwe struct {
	Protected    string `json:"protected"`
	EncryptedKey string `json:"encrypted_key"`
	IV           string `json:"iv"`
	Ciphertext   string `json:"ciphertext"`
	Tag          string `json:"tag"`
}

func (c *client) call(method, path, cookie, bearer string, body []byte) ([]byte, string, error) {
	var request bytes.Buffer
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, c.address)
	if cookie != "" {
		request.WriteString("Cookie: kbs-session-id=" + cookie + "\r\n")
	}
	if bearer != "" {
		request.WriteString("Authorization: Bearer " + bearer + "\r\n")
	}
	if body != nil {
		fmt.Fprintf(&request, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	request.WriteString("\r\n")
	request.Write(body)
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.address)
		if err != nil {
			return nil, "", err
		}
		c.conn, c.reader = conn, bufio.NewReaderSize(conn, 16<<10)
	}
	c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.conn.Write(request.Bytes()); err != nil {
		c.drop()
		return nil, "", err
	}
	status, data, set, err := c.answer()
	if err != nil {
		c.drop()
		return nil, "", err
	}
	if status != "200" {
		return nil, "", fmt.Errorf("%s %s: %s %s", method, path, status, data)
	}
	if set != "" {
		cookie = set
	}
	return data, cookie, nil
}

// answer reads one answer: status, body, the session cookie that it sets.
func (c *client) answer() (string, []byte, string, error) {
	line, err := c.reader.ReadString('\n')
	if err != nil || len(line) < 12 {
		return "", nil, "", fmt.Errorf("no answer: %v", err)
	}
	status, length, cookie, closing := line[9:12], 0, "", false
	for {
		line, err = c.reader.ReadString('\n')
		if err != nil {
			return "", nil, "", err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ": ")
		switch strings.ToLower(name) {
		case "content-length":
			if length, err = strconv.Atoi(value); err != nil {
				return "", nil, "", err
			}
		case "set-cookie":
			value, _, _ = strings.Cut(value, ";")
			cookie = strings.TrimPrefix(value, "kbs-session-id=")
		case "connection":
			closing = strings.EqualFold(value, "close")
		}
	}
	data := make([]byte, length)
	if _, err = io.ReadFull(c.reader, data); err != nil {
		return "", nil, "", err
	}
	if closing {
		c.drop()
	}
	return status, data, cookie, nil
}

func (c *client) drop() {
	if c.conn != nil {
		c.conn.Close()
	}
	c.conn = nil
}

func (c *client) attest() (*session, error) {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	data, cookie, err := c.call("POST", "/kbs/v0/auth", "", "",
		[]byte(`{"version":"0.4.0","tee":"sample","extra-params":{"supported-hash-algorithms":["sha256","sha384","sha512","sm3"]}}`))
	if err != nil {
		return nil, err
	}
	var challenge struct {
		Nonce string `json:"nonce"`
	}
	if err := json.Unmarshal(data, &challenge); err != nil {
		return nil, err
	}
	point := key.PublicKey().Bytes()
	jwk := fmt.Sprintf(`{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"%s","y":"%s"}`,
		b64u.EncodeToString(point[1:33]), b64u.EncodeToString(point[33:]))
	canonical := fmt.Sprintf(`{"additional-evidence":"","nonce":"%s","tee-pubkey":%s}`, challenge.Nonce, jwk)
	digest := sha512.Sum384([]byte(canonical))
	body := fmt.Sprintf(`{"init-data":null,"runtime-data":{"nonce":"%s","tee-pubkey":%s},"tee-evidence":{"primary_evidence":{"report_data":"%s","svn":"1"},"additional_evidence":""}}`,
		challenge.Nonce, jwk, base64.StdEncoding.EncodeToString(digest[:]))
	data, cookie, err = c.call("POST", "/kbs/v0/attest", cookie, "", []byte(body))
	if err != nil {
		return nil, err
	}
	var result struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(data, &result); err != nil {
		return nil, err
	}
	return &session{key, cookie, result.Token}, nil
}

func (c *client) fetch(s *session, cookie, bearer string) error {
	data, _, err := c.call("GET", resource, cookie, bearer, nil)
	if err != nil {
		return err
	}
	var sealed jwe
	if err := json.Unmarshal(data, &sealed); err != nil {
		return err
	}
	plain, err := open(s.key, sealed)
	if err != nil {
		return err
	}
	if !bytes.Equal(plain, c.secret) {
		return errors.New("another secret than the one stored")
	}
	return nil
}

// open decrypts ECDH-ES+A256KW with A256GCM (RFC 7518 sections 4.6 and 5.3).
func open(key *ecdh.PrivateKey, sealed jwe) ([]byte, error) {
	parts := make([][]byte, 5)
	for i, text := range []string{sealed.Protected, sealed.EncryptedKey, sealed.IV, sealed.Ciphertext, sealed.Tag} {
		part, err := b64u.DecodeString(text)
		if err != nil {
			return nil, err
		}
		parts[i] = part
	}
	var header struct {
		Epk struct{ X, Y string }
	}
	if err := json.Unmarshal(parts[0], &header); err != nil {
		return nil, err
	}
	x, err := b64u.DecodeString(header.Epk.X)
	if err != nil {
		return nil, err
	}
	y, err := b64u.DecodeString(header.Epk.Y)
	if err != nil {
		return nil, err
	}
	peer, err := ecdh.P256().NewPublicKey(append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, err
	}
	shared, err := key.ECDH(peer)
	if err != nil {
		return nil, err
	}
	const name = "ECDH-ES+A256KW"
	hash := sha256.New()
	hash.Write([]byte{0, 0, 0, 1})
	hash.Write(shared)
	binary.Write(hash, binary.BigEndian, uint32(len(name)))
	hash.Write([]byte(name))
	hash.Write(make([]byte, 8))
	binary.Write(hash, binary.BigEndian, uint32(256))
	content, err := unwrap(hash.Sum(nil), parts[1])
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(content)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return gcm.Open(nil, parts[2], append(parts[3], parts[4]...), []byte(sealed.Protected))
}

// unwrap is AES key unwrap (RFC 3394 section 2.2.2).
func unwrap(kek, wrapped []byte) ([]byte, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	n := len(wrapped)/8 - 1
	a, r, buffer := append([]byte{}, wrapped[:8]...), append([]byte{}, wrapped[8:]...), make([]byte, 16)
	for j := 5; j >= 0; j-- {
		for i := n; i >= 1; i-- {
			t := uint64(n*j + i)
			binary.BigEndian.PutUint64(buffer[:8], binary.BigEndian.Uint64(a)^t)
			copy(buffer[8:], r[(i-1)*8:i*8])
			block.Decrypt(buffer, buffer)
			copy(a, buffer[:8])
			copy(r[(i-1)*8:i*8], buffer[8:])
		}
	}
	if binary.BigEndian.Uint64(a) != 0xA6A6A6A6A6A6A6A6 {
		return nil, errors.New("the content key does not unwrap")
	}
	return r, nil
}

func main() {
	url, mode := os.Args[1], os.Args[2]
	clients, _ := strconv.Atoi(os.Args[3])
	seconds, _ := strconv.Atoi(os.Args[4])
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	var mutex sync.Mutex
	var group sync.WaitGroup
	var taken []time.Duration
	failed := 0
	first := ""
	started := time.Now()
	for range make([]struct{}, clients) {
		group.Add(1)
		go func() {
			defer group.Done()
			c := &client{address: strings.TrimPrefix(url, "http://"), secret: []byte(os.Args[5])}
			defer c.drop()
			var s *session
			var mine []time.Duration
			bad := 0
			for time.Now().Before(end) {
				begun := time.Now()
				var err error
				if mode == "handshake" || s == nil {
					s, err = c.attest()
				}
				if err == nil && mode == "handshake" {
					err = c.fetch(s, s.cookie, "")
				} else if err == nil {
					err = c.fetch(s, "", s.token)
				}
				if err != nil {
					bad++
					mutex.Lock()
					if first == "" {
						first = err.Error()
					}
					mutex.Unlock()
					continue
				}
				mine = append(mine, time.Since(begun))
			}
			mutex.Lock()
			taken = append(taken, mine...)
			failed += bad
			mutex.Unlock()
		}()
	}
	group.Wait()
	elapsed := time.Since(started).Seconds()
	sort.Slice(taken, func(i, j int) bool { return taken[i] < taken[j] })
	at := func(q float64) float64 {
		if len(taken) == 0 {
			return 0
		}
		return taken[int(q*float64(len(taken)-1))].Seconds() * 1000
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"per_second": float64(len(taken)) / elapsed, "p50_ms": at(0.5), "p99_ms": at(0.99),
		"failed": failed, "first_failure": first,
	})
}
